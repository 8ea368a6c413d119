"""The workloads that take a while, which differ in their length alone."""


class Sleeps:
    """What both kinds of contestants share; `_sleep` makes `count` calls that sleep for some seconds."""

    def brief(self, count):
        return self._sleep(0.01, count)

    def medium(self, count):
        return self._sleep(0.1, count)

    def long(self, count):
        return self._sleep(1.0, count)
