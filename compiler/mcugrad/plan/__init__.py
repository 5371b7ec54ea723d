"""When and where: the order of kernel calls and the place of every byte."""
