"""`resolve compare`: the same hosts through several engines, backends and timeouts, side by side.

    hosts -> list in a file -> for each contestant and timeout, in alternating order, a fresh child -> figures -> report

- `command` is the command, `contest` what it compares and in which order;
- `child` is one run, in a process of its own; `spec` what travels to and from it;
- `watch` starts that child, looks at it from outside, and ends it where it hangs;
- `figures` makes numbers of what came back, `agreement` finds out who answered what;
- `report` gathers all of it; `show` is for people, `document` for machines, `plot` a picture.

The one thing to know before changing anything here: what is measured must not be what measures. A child runs the same
joinall as `resolve run` and writes its results away in one call to C for each batch; whatever is made of them is made
afterwards, while no clock runs. Importing this package loads nothing.
"""
