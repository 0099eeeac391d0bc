"""Lookups shared by many machines: the coordinator of a run, and the workers that it finds in a Redis.

How it works. The coordinator (the engine `redis`) cuts a run's queries into chunks and puts each as a task of Celery's
into a queue. Workers take chunks, look them up on a local engine, and add what they find, part by part, to a stream of
the run's own. The coordinator reads that stream, takes the first result for each index, and cuts the next chunk: a
bounded number of them is out at any time, so a slow reader of results slows everything.

Exactly once is made in one place, the coordinator, which keeps every query until its result has come. No broker can
give it: Redis may lose what it held, Celery may deliver twice, a worker may die, or be slow enough to be thought dead.
All that any of them can do is to have a lookup made again.

So nothing has to be kept safe anywhere else. A chunk whose worker is gone, or that is neither in the queue nor begun,
is sent again. A run has a lease that its coordinator renews: where it is gone, workers drop what they have of the run.

    payload       what travels: a Chunk out, Reports back; checked on arrival
    coordinator   what to send when, what to believe; no I/O, no clock of its own
    outstanding   a chunk that is out, as the coordinator sees it
    envelope      a chunk in the queue, as Celery's task message
    transport     what a worker lets in from the queue
    broker        the Redis: its address, the names of its keys, how Celery is set up
    outage        a Redis that is away, or refuses for a while
    link          the coordinator's threads that talk to it
    embedded      a server and a worker of a run's own
    worker        a worker: Celery's, with beats and its end
    teams         what a worker has in hand, and the local engines that look it up
    task          one chunk in a worker, from its arrival to its last report

Times that cross machines are seconds that remain, kept by the Redis's own clock.
"""
