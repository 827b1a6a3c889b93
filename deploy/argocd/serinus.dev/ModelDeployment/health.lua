-- The health of a ModelDeployment. Its conditions Ready, Reconciling and Stalled follow kstatus: exactly one is true.
--   Degraded     Stalled: the revision in the spec was rolled back, or something has to be mended
--   Suspended    Paused: it waits for a person's decision, or spec.suspend is true
--   Healthy      Ready: the revision in the spec is stable and serves
--   Progressing  all else: it goes on by itself, or no operator has looked at it yet
-- The libraries that Argo CD opens by default suffice.

local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is(kind, value)
  return conditions[kind] ~= nil and conditions[kind].status == value
end

local function message_of(kind)
  return conditions[kind] ~= nil and conditions[kind].message or ""
end

-- The reason and the message of a condition, and whether users suffer meanwhile.
local function told(kind)
  local message = conditions[kind] ~= nil and conditions[kind].reason .. ": " .. message_of(kind) or ""
  if is("Available", "False") then
    message = message .. "; nobody is served: " .. message_of("Available")
  end
  return message
end

if obj.metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "Being deleted" }
end
if conditions.Stalled == nil or status.observedGeneration ~= obj.metadata.generation then
  return {
    status = "Progressing",
    message = "No operator has looked at generation " .. (obj.metadata.generation or 0) .. " yet",
  }
end
if is("Stalled", "True") then
  return { status = "Degraded", message = told("Stalled") }
end
if is("Paused", "True") then
  return { status = "Suspended", message = told("Paused") }
end
if is("Ready", "True") then
  local healthy = message_of("Ready")
  if conditions.Reconciling ~= nil and conditions.Reconciling.reason == "Watching" then
    healthy = message_of("Reconciling")
  end
  if is("ImagesDiffer", "True") then
    healthy = healthy .. "; " .. message_of("ImagesDiffer")
  end
  return { status = "Healthy", message = healthy }
end
return { status = "Progressing", message = told("Reconciling") }
