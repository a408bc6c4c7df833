-- Keeps the answer of a page for all visitors of its address (plua.cachePage).
--
-- The chunk takes the functions written in Rust, those of Lua's that a page may have replaced by now, what lets a page wait, and what
-- ends it. It returns the page function.
local native, lua, sleep, exit = ...

local error = lua.error

-- Seconds between two looks of those that wait for who makes it.
local SHORTEST, LONGEST = 0.005, 0.1

return function(...)
  local ok, state = native["plua.cachePage"](...)
  local pause = SHORTEST
  while ok and state == "waits" do
    sleep(pause)
    pause = pause * 2 < LONGEST and pause * 2 or LONGEST
    ok, state = native.look_again()
  end
  if not ok then error(state, 2) end
  -- Somebody has made it: that is the answer.
  if state == "kept" then exit() end
  return state == "makes"
end
