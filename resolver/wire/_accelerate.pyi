# The functions that stand in C have the faces of those that take their places where it is not there.
from resolver.wire import accelerator

receive = accelerator.receive_singly
settle = accelerator.settle_none
launch = accelerator.launch_none
