-- Stops progress while the annotation is there; a failing metric still rolls back.
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["serinus.dev/pause"] = "true"
return obj
