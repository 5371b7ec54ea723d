"""The one exception a user may see."""


class McugradError(Exception):
    """A mistake in the input or the environment, told in one sentence.

    The sentence says what is wrong, where (file, node, byte) and what to do; the command line prints it and exits
    with code 2.
    """
