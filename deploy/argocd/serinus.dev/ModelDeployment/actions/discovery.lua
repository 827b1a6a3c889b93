-- Which actions mean something now, and for which revision and step: the rules are those of `kubectl serinus`.

local status = obj.status or {}
local rollout = status.rollout or {}
local phase = rollout.phase
local candidate = status.candidate ~= nil and status.candidate.revision or ""
local step = rollout.step or ""

local stalled = nil
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Stalled" and condition.status == "True" then
    stalled = condition
  end
end

local is_there = obj.metadata.deletionTimestamp == nil
local is_current = status.observedGeneration == obj.metadata.generation
local in_step = phase == "Holding" or phase == "Paused" or phase == "AwaitingApproval"
local replaces = status.candidate ~= nil and status.stable ~= nil
-- While something has to be mended, a candidate may be taken back and goes nowhere else.
local goes_on = is_there and stalled == nil

-- Rejected are the revision in the spec, last, and before it those that a person tried to return to.
local rejected = (status.rejected or {})[table.getn(status.rejected or {})] or {}
local was_rejected = phase == "Rejected" and stalled ~= nil and stalled.reason == rejected.reason and is_current

local watched = phase == "Watching" and status.stable ~= nil and status.previous ~= nil
local on_its_way = replaces and (in_step or phase == "Starting" or phase == "Promoting")

local pause = (obj.metadata.annotations or {})["serinus.dev/pause"] or ""
local wants_pause = pause ~= "" and pause ~= "false" and pause ~= "False" and pause ~= "FALSE"

local function action(makes_sense, name, icon)
  return { disabled = not makes_sense, displayName = name, iconClass = "fa fa-fw " .. icon }
end

return {
  ["approve"] = action(
    goes_on and replaces and phase == "AwaitingApproval", "Approve step " .. step .. " of " .. candidate, "fa-check"
  ),
  ["promote"] = action(
    goes_on and replaces and (in_step or phase == "Starting"), "Promote " .. candidate .. " now", "fa-forward"
  ),
  ["skip-step"] = action(
    goes_on and replaces and in_step and phase ~= "AwaitingApproval",
    "Skip step " .. step .. " of " .. candidate, "fa-step-forward"
  ),
  ["abort"] = action(
    is_there and (on_its_way or watched),
    watched and "Return to " .. status.previous.revision or "Roll " .. candidate .. " back", "fa-undo"
  ),
  ["retry"] = action(is_there and was_rejected, "Try " .. (rejected.revision or "") .. " again", "fa-redo"),
  ["pause"] = action(is_there and not wants_pause, "Pause", "fa-pause"),
  ["resume"] = action(is_there and wants_pause, "Resume", "fa-play"),
}
