"""A dask cluster on this machine: prints the address of its scheduler, and lives until it is interrupted.

    pip install 'bptt[dask]'
    python examples/local_cluster.py 4 &
    bptt check --backend dask --scheduler tcp://127.0.0.1:8786

The same two options take the scheduler of any other cluster whose workers have bptt and see your files under the same paths.
"""

import signal
import sys


def main(workers: int, port: int) -> None:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=workers,
        threads_per_worker=1,  # one target at a time for each worker
        host="127.0.0.1",  # whoever reaches a scheduler can run code on its workers
        scheduler_port=port,
        dashboard_address=None,
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":  # its workers import this file
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2, int(sys.argv[2]) if len(sys.argv) > 2 else 8786)
