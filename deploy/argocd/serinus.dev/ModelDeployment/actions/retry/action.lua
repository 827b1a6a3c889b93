-- Tries the rejected revision of the spec again, from the first step.
local os = require("os")
local status = obj.status or {}
local phase = (status.rollout or {}).phase or "unknown"
-- Rejected are the revision in the spec, last, and before it those that a person tried to return to.
local rejected = (status.rejected or {})[table.getn(status.rejected or {})]
if phase ~= "Rejected" or rejected == nil or status.observedGeneration ~= obj.metadata.generation then
  error("retry would do nothing: the revision in the spec was not rejected; the phase is " .. phase, 0)
end
local token = os.date("!%Y%m%dT%H%M%SZ") .. "-" .. (status.moves or 0)
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["serinus.dev/retry"] = rejected.revision .. "#" .. token
return obj
