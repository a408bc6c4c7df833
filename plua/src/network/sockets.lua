-- Connections of pages to other servers: what is tried goes as far as it can without waiting, and waits here for the rest.
--
-- The chunk takes the functions written in Rust and the light threads. It returns what pages call.
local native, light_threads = ...

local error, tostring, type = error, tostring, type
local concat, max = table.concat, math.max
local whole_number, wait_for_event, is_alone, now =
  light_threads.whole_number, light_threads.wait_for_event, light_threads.is_alone, native.seconds_since_start
local socket_connect, socket_open, socket_send, socket_receive =
  native["plua.connect"], native["socket.open"], native["socket.send"], native["socket.receive"]
local socket_give_up, socket_keep, socket_uses, socket_close =
  native["socket.give_up"], native["socket.keep"], native["socket.uses"], native["socket.close"]

-- The largest number that Rust takes where it counts bytes.
local MOST = 2147483647
-- A day, as for `sleep`.
local LONGEST = 86400

-- Each holds the socket in Rust, how long it waits for what, and who reads and writes.
local methods = {}
local new_socket, state_of = light_threads.class("plua.socket", methods, "plua.connect has given")

local function seconds(position, name, value, before)
  if value == nil then return before end
  -- What is no number at all is not above 0 either.
  local fits = type(value) == "number" and value > 0
  if not fits then error("bad argument #" .. position .. " to '" .. name .. "' (seconds above 0 expected)", 3) end
  return value < LONGEST and value or LONGEST
end

local function connect(...)
  local ok, event, handle, kind, timeout = socket_connect(...)
  if not ok then error(event, 2) end
  if event < 0 then return nil, handle, kind end
  local left, deadline = kind, now() + timeout
  while event > 0 do
    -- Where a name has several addresses, each has its share of the time.
    local rest = deadline - now()
    local has_come = wait_for_event(event, max(rest / left, 0), "plua.connect", socket_close, handle)
    if not has_come and now() >= deadline then
      socket_close(handle)
      return nil, tostring((...)) .. ": timeout", "timeout"
    end
    local problem
    ok, event, problem, kind = socket_open(handle, not has_come)
    if not ok then error(event, 2) end
    if event < 0 then return nil, problem, kind end
    left = problem
  end
  return new_socket({ handle = handle, sending = timeout, receiving = timeout })
end

function methods.settimeouts(object, connecting, sending, receiving)
  local state = state_of(object, "settimeouts")
  seconds(1, "settimeouts", connecting)
  state.sending = seconds(2, "settimeouts", sending, state.sending)
  state.receiving = seconds(3, "settimeouts", receiving, state.receiving)
end

local function text_of(data)
  local kind = type(data)
  if kind == "string" or kind == "number" then return data end
  if kind == "table" then
    local pieces = {}
    for i = 1, #data do
      pieces[i] = text_of(data[i])
    end
    return concat(pieces)
  end
  error("bad argument #1 to 'send' (string, number or table of those expected, got " .. kind .. ")", 0)
end

-- Calls a function of Rust until it needs no more waiting. What it gives behind the number of an event; or nothing, when
-- that took too long.
local function send_all(state, data)
  local sent, deadline = 0, nil
  while true do
    local ok, event, first = socket_send(state.handle, data, sent)
    if not ok then error(event, 3) end
    if event == 0 then return first end
    if event < 0 then return nil, first end
    sent, deadline = first, deadline or now() + state.sending
    if not wait_for_event(event, max(deadline - now(), 0), "socket:send", socket_close, state.handle) then
      -- Nobody knows what of it has arrived.
      socket_close(state.handle)
      return nil, "timeout"
    end
  end
end

function methods.send(object, data)
  local state = state_of(object, "send")
  if type(data) ~= "string" then data = text_of(data) end
  if state.is_sending then return nil, "socket busy writing" end
  state.is_sending = true
  local sent, problem = send_all(state, data)
  state.is_sending = false
  if not sent then return nil, problem end
  return sent
end

local function receive_all(state, name, ...)
  local is_again, deadline = false, nil
  while true do
    local ok, event, first, second = socket_receive(state.handle, is_again, is_alone(), ...)
    if not ok then error(event, 4) end
    if event == 0 then return first, second end
    if event < 0 then return nil, first, second end
    is_again, deadline = true, deadline or now() + state.receiving
    if not wait_for_event(event, max(deadline - now(), 0), name, socket_close, state.handle) then
      local _, partial = socket_give_up(state.handle)
      return nil, "timeout", partial
    end
  end
end

local function receive_alone(state, name, ...)
  if state.is_receiving then return nil, "socket busy reading" end
  state.is_receiving = true
  local data, second, partial = receive_all(state, name, ...)
  state.is_receiving = false
  return data, second, partial
end

local PATTERNS = { ["*l"] = "*l", ["*a"] = "*a", l = "*l", a = "*a" }

function methods.receive(object, wanted)
  local state = state_of(object, "receive")
  local pattern, count = "*l", nil
  if type(wanted) == "number" then
    pattern, count = "n", whole_number(1, "receive", wanted, nil, 0, MOST)
  elseif wanted ~= nil then
    pattern = PATTERNS[wanted]
    if not pattern then error('bad argument #1 to \'receive\' (a number of bytes, "*l" or "*a" expected)', 2) end
  end
  local data, problem, partial = receive_alone(state, "socket:receive", pattern, count)
  if data == nil then return nil, problem, partial end
  return data
end

function methods.receiveAny(object, most)
  local state = state_of(object, "receiveAny")
  most = whole_number(1, "receiveAny", most, 65536, 1, MOST)
  local data, problem, partial = receive_alone(state, "socket:receiveAny", "any", most)
  if data == nil then return nil, problem, partial end
  return data
end

function methods.receiveUntil(object, delimiter, options)
  local state = state_of(object, "receiveUntil")
  if type(delimiter) ~= "string" or delimiter == "" then
    error("bad argument #1 to 'receiveUntil' (a text that is not empty expected)", 2)
  end
  if options ~= nil and type(options) ~= "table" then
    error("bad argument #2 to 'receiveUntil' (table expected, got " .. type(options) .. ")", 2)
  end
  local inclusive, has_ended = options and options.inclusive and true or false, false
  return function(most)
    if most ~= nil then whole_number(1, "receiveUntil's function", most, nil, 1, MOST) end
    if has_ended then
      has_ended = false
      return nil
    end
    local data, second, partial = receive_alone(state, "socket:receiveUntil", "until", delimiter, inclusive, most)
    if data == nil then return nil, second, partial end
    -- With pieces, nil says once that there are no more.
    has_ended = most and second or false
    return data
  end
end

function methods.keepalive(object, time, size)
  local state = state_of(object, "keepalive")
  if state.is_sending or state.is_receiving then return nil, "socket busy" end
  time = seconds(1, "keepalive", time, 60)
  local ok, problem = socket_keep(state.handle, time, whole_number(2, "keepalive", size, 30, 0, MOST))
  if not ok then error(problem, 2) end
  if problem then return nil, problem end
  return true
end

function methods.reusedTimes(object)
  local _, uses = socket_uses(state_of(object, "reusedTimes").handle)
  if not uses then return nil, "closed" end
  return uses
end

function methods.close(object)
  local _, was_open = socket_close(state_of(object, "close").handle)
  if not was_open then return nil, "closed" end
  return true
end

return connect
