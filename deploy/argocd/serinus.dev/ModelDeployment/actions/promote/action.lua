-- Gives the candidate all requests, without further steps and approvals.
local os = require("os")
local status = obj.status or {}
local phase = (status.rollout or {}).phase or "unknown"
local before_promotion = phase == "Starting" or phase == "Holding" or phase == "Paused" or phase == "AwaitingApproval"
if status.candidate == nil or status.stable == nil or not before_promotion then
  error("promote would do nothing: no candidate waits beside a stable revision; the phase is " .. phase, 0)
end
local token = os.date("!%Y%m%dT%H%M%SZ") .. "-" .. (status.moves or 0)
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["serinus.dev/promote"] = status.candidate.revision .. "#" .. token
return obj
