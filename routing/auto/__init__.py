"""A learned choice of target: what each target's answer is expected to be worth, from the request's words and shape.

features (words and shape of a request) -> model (expected quality by target) -> choice (quality against cost)
samples (labelled outcomes) -> training (a model)      bandit (learning from outcomes as they come)      cascade
"""
