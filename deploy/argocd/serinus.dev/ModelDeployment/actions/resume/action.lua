-- Goes on after a pause.
if obj.metadata.annotations ~= nil then
  obj.metadata.annotations["serinus.dev/pause"] = nil
end
return obj
