"""The workers claim jobs and do them, each step in a process of its own. They import the gateway and the models."""
