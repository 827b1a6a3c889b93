-- Gives the approval that the rollout waits for: of the revision and the step that it is in now.
local os = require("os")
local status = obj.status or {}
local rollout = status.rollout or {}
if status.candidate == nil or rollout.phase ~= "AwaitingApproval" then
  error("approve would do nothing: the rollout waits for no approval; its phase is " .. (rollout.phase or "unknown"), 0)
end
local token = os.date("!%Y%m%dT%H%M%SZ") .. "-" .. (status.moves or 0)
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["serinus.dev/approve"] = status.candidate.revision .. "/" .. rollout.step .. "#" .. token
return obj
