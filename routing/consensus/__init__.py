"""Consensus: several targets answer, one answer comes out.

answers      what goes in and comes out            values       when two values are the same (with literals)
align        lays JSON answers over one another     polls        who is for which value at one place
vote         settles a poll, ties included          plain        plain text, short or long
reliability  how often each target is right         weights      the weights of votes (with fitting)
methods      the table of methods                   best_match   one whole answer by confidence
calibration  what a confidence means                choose       which method the route takes
ballots      what is kept of an exchange            history      what a route remembers and has learnt
merge        the entry point

All of it is pure: no I/O, no clock, no chance.
"""

from routing.consensus.answers import Answer, FieldResult, Label, Merged, Options
from routing.consensus.history import History, fitted
from routing.consensus.learned import Learned
from routing.consensus.merge import merge
from routing.consensus.methods import METHODS

__all__ = ["METHODS", "Answer", "FieldResult", "History", "Label", "Learned", "Merged", "Options", "fitted", "merge"]
