def keep(*a):
    pass


def write(*a):
    pass
