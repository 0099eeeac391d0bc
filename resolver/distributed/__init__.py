"""Lookups shared by many machines: the coordinator of a run, and the workers that it finds in a Redis.

The coordinator (the engine `redis`) cuts a run's queries into chunks and puts each as a task of Celery's into a queue.
Workers take chunks, look them up on a local engine, and add results, part by part, to a stream of the run's own. The
coordinator reads that stream, takes the first result for each index, and cuts the next chunk: a bounded number of them
is out at any time, so that a slow reader of results slows everything.

Exactly once is made in one place, the coordinator, which keeps every query until its result has come. No broker can
give it: Redis may lose its data, Celery may deliver twice, a worker may die, or be slow enough to be thought dead. The
worst that any of them can do is to have a lookup made again.

Nothing has to be kept safe anywhere else. A chunk whose worker is gone, or that is neither in the queue nor begun, is
sent again. A run has a lease that its coordinator renews; when it is gone, workers drop the run's chunks.

Both ends
    payload         the messages: a Chunk out, ChunkReports back; checked on arrival
    envelope        a chunk in the queue, as Celery's task message
    broker          the Redis: its address, the names of its keys, how Celery is set up
    outage          a Redis that is away, or refuses for a while

The coordinator
    engine          the engine: between queries, coordinator and connection
    coordinator     which chunk to send when, which result to believe; no I/O, no clock of its own
    outstanding     a chunk that is out
    connection      the threads that talk to the Redis
    embedded        a server (guard) and a worker (local) of a run's own

A worker
    command         the command `resolve worker`
    worker          a worker, from its start to its end in order
    celery_worker   Celery's worker, where ours differs from it
    transport       the check of what comes out of the queue
    task            one chunk, from its arrival to its last report
    executor_pool   the executors of a worker; executor: the local engine over one run's chunks; active_chunk: what
                    it needs
    heartbeat       the beats of a worker; it watches the leases of its runs
    monitor         for Celery's own tools

Times that cross machines are seconds that remain, kept by the Redis's own clock.
"""
