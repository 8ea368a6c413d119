"""Values that went with a worker, as the scheduler beside the driver says in its log.

That a value was made on a worker that lives does not say that it is there: Dask copies values to where they are needed,
and of several copies lets go of the first as well as of any other.
"""

import logging
import re


class Losses(logging.Handler):
    """Listens while it is entered.

    Attributes
    ----------
    names : set of str
        The names of steps whose values were lost, perhaps to be made again.
    """

    def __init__(self):
        super().__init__()
        self.names = set()

    def __enter__(self):
        logging.getLogger("distributed.scheduler").addHandler(self)
        return self

    def __exit__(self, *_):
        logging.getLogger("distributed.scheduler").removeHandler(self)

    def emit(self, record):
        """Called by logging."""
        said = record.getMessage()
        if "caused the cluster to lose" in said:
            self.names.update(re.findall(r"'(s\d+)-", said))
