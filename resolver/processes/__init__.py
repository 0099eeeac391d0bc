"""The engine `processes`: child processes, each with an event loop of its own."""
