-- Server-sent events (plua.events): a response that stays open and takes an event at a time, while the page waits for the next.
--
-- The chunk takes the functions written in Rust, what puts out and sends, and the light threads. It returns the page function. The form
-- of the stream is that of the HTML standard, section 9.2.
local native, put, flush, light_threads = ...

local error, next, tostring, type = error, next, tostring, type
local find, gmatch, gsub = string.find, string.gmatch, string.gsub
local huge = math.huge

local sleep = light_threads.sleep

-- Each holds how often something is sent while the page waits.
local methods = {}
local new_events, heartbeat_of = light_threads.class("plua.events", methods, "plua.events has made")

local function check(fine, ...)
  if not fine then error((...), 3) end
  return ...
end

-- A field that is a line by itself.
local function line_of(name, value)
  local text = tostring(value)
  if find(text, "[\r\n%z]") then error("plua.events: " .. name .. " has a line break or a NUL in it", 3) end
  return name .. ": " .. text .. "\n"
end

local function data_of(data)
  if type(data) == "table" then data = check(native["json.encode"](data)) end
  local text = gsub(gsub(tostring(data), "\r\n", "\n"), "\r", "\n")
  local lines = ""
  for line in gmatch(text .. "\n", "(.-)\n") do
    lines = lines .. "data: " .. line .. "\n"
  end
  return lines
end

function methods.send(events, event)
  heartbeat_of(events, "send")
  if event == nil then error("bad argument #1 to 'send' (an event expected, got nil)", 2) end
  if type(event) ~= "table" or event.data == nil and event.retry == nil then event = { data = event } end
  local text = ""
  for _, name in next, { "event", "id" } do
    if event[name] ~= nil then text = text .. line_of(name, event[name]) end
  end
  local retry = event.retry
  if retry ~= nil then
    if type(retry) ~= "number" or retry < 0 or retry ~= retry or retry == huge then
      error("plua.events: retry is a number of seconds", 2)
    end
    text = text .. line_of("retry", ("%.0f"):format(retry * 1000))
  end
  if event.data ~= nil then text = text .. data_of(event.data) end
  put(text .. "\n")
  flush()
end

function methods.wait(events, seconds)
  local heartbeat = heartbeat_of(events, "wait")
  if type(seconds) ~= "number" or seconds < 0 or seconds ~= seconds then
    error("bad argument #1 to 'wait' (seconds from 0 on expected)", 2)
  end
  while seconds > heartbeat do
    sleep(heartbeat)
    seconds = seconds - heartbeat
    put(":\n\n")
    flush()
  end
  sleep(seconds)
end

-- The id that the visitor's last stream has come to.
function methods.lastId(events)
  heartbeat_of(events, "lastId")
  for name, value in next, check(native["plua.requestHeaders"]()) do
    if name:lower() == "last-event-id" then return value end
  end
end

return function(options)
  if options ~= nil and type(options) ~= "table" then
    error("bad argument #1 to 'plua.events' (table expected, got " .. type(options) .. ")", 2)
  end
  local heartbeat = options and options.heartbeat or 15
  if type(heartbeat) ~= "number" or heartbeat <= 0 or heartbeat ~= heartbeat then
    error("plua.events: heartbeat is a number of seconds above 0", 2)
  end
  check(native.setContentType("text/event-stream"))
  check(native.header("Cache-Control", "no-cache"))
  return new_events(heartbeat)
end
