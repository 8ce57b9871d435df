"""podman, a runtime that is not Kubernetes', with its CNI networking and our plugin."""
