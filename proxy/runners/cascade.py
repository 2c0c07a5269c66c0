"""`auto` as a cascade: two cheap targets are asked together, the others one by one where those disagree.

the two --agree--> their answer
   | disagree, or not both have answered
   v
the best of the others --no answer--> the next of them --none--> what the two came to

A request that the policy gives to one target goes to the first that answers.
"""

from __future__ import annotations

from dataclasses import replace

from proxy.asking import Committed
from proxy.ordering import say_why
from proxy.runners.consensus import Round
from proxy.runners.job import Job, first


async def run(job: Job) -> Committed:
    """The answer of the two if they agree, else that of the target that decides.

    Where one of the two cannot be asked now, or nobody could decide, the others go before them, one by one.

    Raises:
        Refused, BadRequest: nobody has answered.
        LedgerUnavailable: what is asked cannot be booked.
    """
    if not job.together:
        return await first(job)
    usable = job.usable
    cheap = [target for target in usable if target in job.together]
    others = [target for target in usable if target not in job.together]
    if len(cheap) < len(job.together) or not others:
        say_why(job.exchange, "no cascade: some of its targets cannot be asked now; one by one, best first")
        later = [target for target in job.targets if target not in job.together]
        return await first(replace(job, targets=[*later, *job.together]))
    return await Round(job, job.setup.consensus(job.route.name), cheap, others).answer()
