"""A run of several processes is one run: they find each other, agree, stop and fail together.

Each process of such a run is two: the trainer, and its supervisor, which is the one that was
started and stays small. The supervisors are joined by lines to the hub in the supervisor of
process 0, over the coordinator's port before JAX's own runtime listens there. Whatever happens to a
trainer, caught in a collective or killed, its supervisor lives to say why, and a supervisor that is
killed is noticed by the end of its line.

    config      where the processes are
    lines       messages over a socket
    rendezvous  how the lines come about
    hub         what is decided in one place
    supervisor  what watches a trainer
    member      what a trainer asks of the others
    notice      what tells a run to stop
"""
