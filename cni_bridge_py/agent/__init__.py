"""The daemon on each node of a Kubernetes cluster: routes, configuration, metrics. See README.md here.

How one pod is wired is not here: a runtime calls the plugin for that, and the plugin works without the agent.
"""
