"""The defaults that ship with limitlens: a policy and the training settings, as data."""
