"""The process of one run of a comparison: `python -m resolver.compare ENGINE`; child.py is what it does.

What gevent patches must not be imported before it does so, and the thread that waits for the parent must be started
before: a patched thread would hold up all others. All this is start-up, and timed apart.
"""

import sys

from resolver.bootstrap import prepare
from resolver.subprocesses import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    prepare(sys.argv[1])
    from resolver.compare.child import main

    main()
