-- Rolls the candidate back; during the watch after a promotion, returns to the revision that served before.
local os = require("os")
local status = obj.status or {}
local phase = (status.rollout or {}).phase or "unknown"
local revision = nil
if phase == "Watching" and status.stable ~= nil and status.previous ~= nil then
  revision = status.stable.revision
elseif phase ~= "RollingBack" and status.candidate ~= nil and status.stable ~= nil then
  revision = status.candidate.revision
end
if revision == nil then
  error("abort would do nothing: no rollout is under way that could be taken back; the phase is " .. phase, 0)
end
local token = os.date("!%Y%m%dT%H%M%SZ") .. "-" .. (status.moves or 0)
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["serinus.dev/abort"] = revision .. "#" .. token
return obj
