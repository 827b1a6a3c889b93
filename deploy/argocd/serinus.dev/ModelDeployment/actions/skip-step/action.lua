-- Ends the step that the rollout is in now, without its hold and verdict.
local os = require("os")
local status = obj.status or {}
local rollout = status.rollout or {}
if status.candidate == nil or not (rollout.phase == "Holding" or rollout.phase == "Paused") then
  error("skip-step would do nothing: no step is being held; the phase is " .. (rollout.phase or "unknown"), 0)
end
local token = os.date("!%Y%m%dT%H%M%SZ") .. "-" .. (status.moves or 0)
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["serinus.dev/skip-step"] = status.candidate.revision .. "/" .. rollout.step .. "#" .. token
return obj
