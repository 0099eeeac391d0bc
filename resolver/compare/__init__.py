"""The command `resolve compare`: the same hosts through several engines, backends and timeouts, side by side.

    hosts -> list in a file -> for each contestant and timeout, in alternating order, a fresh child -> figures -> report

- `command` has the options, `comparison` goes from them to the exit status;
- `contest` is the pairs that are compared and the order of their runs;
- `child` is one run, in a process of its own, and the messages to and from it;
- `watch` starts that child, samples it from outside, and ends it where it hangs;
- `figures` is the table of figures, and makes numbers of the results; `agreement` compares the answers;
- `report` gathers all of it, and writes it for machines; `show` is for people, with `words` and `curves`; `plot`
  draws, and `page` is both for a browser.

Measuring must not be measured: a child runs the same joinall as `resolve run` and writes its results away in one call
to C for each batch; all else is done with them afterwards, while no clock runs. Importing this package loads nothing.
"""
