"""Calls that happen on the workers of a Dask cluster; nothing else in the workbook knows that there are clusters."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

from fer_helpers import emotions

PATIENCE = 10  # seconds in which a scheduler must answer


def results(address: str, task: Callable, calls: dict[str, tuple], *, log: Callable = print) -> Iterator[tuple]:
    """(name, result) of task(*call) for each named call, as soon as it is there; what a call raises is raised here.

    A call whose worker died is made again on another one, until it has lost as many workers as the scheduler allows.
    joblib's own backend for Dask isn't used: it waits for ever for a call that was given up (version 1.6).
    """
    try:
        from distributed import Client, KilledWorker, as_completed
    except ImportError as error:
        wanted = 'install it with this Python: python -m pip install -e ".[cluster]"'
        raise ModuleNotFoundError(f"A cluster needs the package distributed, which isn't here: {wanted}") from error
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        start = "start one with `dask scheduler` and give the address that it prints, like CLUSTER=tcp://10.0.0.1:8786"
        raise ConnectionError(f"No Dask scheduler answers at {address} within {PATIENCE} seconds: {start}") from error
    with client:  # leaving it takes back what has not begun
        log(f"{len(client.scheduler_info(-1)['workers'])} workers at {address}; more may join at any time")
        client.register_plugin(_same_emotions())
        names = {client.submit(task, *call, pure=False): name for name, call in calls.items()}
        for future in as_completed([*names], loop=client.loop):
            name = names.pop(future)
            try:
                result = future.result()
            except KilledWorker as error:
                reason = "memory is the usual reason, and its terminal tells. What is finished is kept."
                raise RuntimeError(f"{name} was given up, its worker died again and again: {reason}") from error
            except CancelledError as error:
                again = "What is finished is kept: start it, then the same command goes on."
                raise ConnectionError(f"The Dask scheduler at {address} is gone. {again}") from error
            future.release()  # else the call is made once more when the worker that holds its result dies later
            yield name, result


def _same_emotions():
    """A plugin that tells every worker, also one that joins later, which emotions this study is about.

    One that had run something on others keeps to those: it then refuses the study's runs, see runs.run.
    """
    from distributed import WorkerPlugin

    asked = " ".join(emotions.FEWER)

    class SameEmotions(WorkerPlugin):
        name = emotions.VARIABLE

        def setup(self, worker):
            os.environ[self.name] = asked

    return SameEmotions()
