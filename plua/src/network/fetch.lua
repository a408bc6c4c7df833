-- Requests of pages to servers of HTTP: a task of Rust's makes each, and the page waits here until there is something to look at.
--
-- The chunk takes the functions written in Rust and the light threads. It returns what pages call.
local native, light_threads = ...

local error, next, pcall, rawget, setmetatable, tostring, type = error, next, pcall, rawget, setmetatable, tostring, type
local concat, sort, max, huge = table.concat, table.sort, math.max, math.huge
local running, co_status = coroutine.running, coroutine.status
local find, lower, match, upper = string.find, string.lower, string.match, string.upper
local wait_for_event, now = light_threads.wait_for_event, native.seconds_since_start
local fetch_start, fetch_head, fetch_body, fetch_read, fetch_close =
  native["plua.fetch"], native["fetch.head"], native["fetch.body"], native["fetch.read"], native["fetch.close"]
local fetch_wanted, fetch_give, fetch_sent = native["fetch.wanted"], native["fetch.give"], native["fetch.sent"]
local spawn, kill = light_threads.functions.spawn, light_threads.functions.kill
local json_encode, json_decode, escape_url = native["json.encode"], native["json.decode"], native.escapeUrl

-- A day, and so long where a page says nothing.
local LONGEST, PATIENCE = 86400, 30

local function bad(what, level) error("bad argument #2 to 'plua.fetch' (" .. what .. ")", level + 1) end

-- What each option may be, or one of two.
local OPTIONS = {
  method = "string",
  headers = "table",
  body = { "string", "function" },
  query = "table",
  json = "any",
  form = "table",
  timeout = "number",
  follow = "number",
  stream = "boolean",
  proxy = "string",
  verify = "boolean",
  ca = "string",
}
-- Options that are TLS's.
local OF_TLS = { "verify", "ca" }

local function escaped(value)
  local ok, text = escape_url(tostring(value))
  if not ok then error(text, 0) end
  return text
end

-- Names with values, sorted so that the same table is always the same text; several values of a name in their order.
local function fields(what, given)
  local names, pieces = {}, {}
  for name in next, given do
    if type(name) ~= "string" then bad(what .. ": names expected, got a " .. type(name), 3) end
    names[#names + 1] = name
  end
  sort(names)
  for i = 1, #names do
    local value = given[names[i]]
    local values = type(value) == "table" and value or { value }
    for j = 1, #values do
      pieces[#pieces + 1] = escaped(names[i]) .. "=" .. escaped(values[j])
    end
  end
  return concat(pieces, "&")
end

local function list_of_headers(given, content_type)
  local list, has_type = {}, false
  for name, value in next, given do
    if type(name) ~= "string" then bad("headers: names expected, got a " .. type(name), 3) end
    has_type = has_type or lower(name) == "content-type"
    local values = type(value) == "table" and value or { value }
    for i = 1, #values do
      local kind = type(values[i])
      if kind ~= "string" and kind ~= "number" then bad("headers: text expected for " .. name .. ", got a " .. kind, 3) end
      list[#list + 1], list[#list + 2] = name, tostring(values[i])
    end
  end
  if content_type and not has_type then
    list[#list + 1], list[#list + 2] = "Content-Type", content_type
  end
  return list
end

-- What is to be sent, and of what type it is.
local function body_of(options)
  local body, content_type, count = options.body, nil, options.body and 1 or 0
  if options.json ~= nil then
    local ok, text = json_encode(options.json)
    if not ok then error(text, 4) end
    body, content_type, count = text, "application/json", count + 1
  end
  if options.form ~= nil then
    body, content_type, count = fields("form", options.form), "application/x-www-form-urlencoded", count + 1
  end
  if count > 1 then bad("one of body, json and form expected", 3) end
  return body, content_type
end

local function check(options)
  if options == nil then return {} end
  if type(options) ~= "table" then bad("table expected, got " .. type(options), 3) end
  for name, value in next, options do
    local wanted, kind = OPTIONS[name], type(value)
    if not wanted then bad("no option '" .. tostring(name) .. "'", 3) end
    if type(wanted) == "table" then
      if kind ~= wanted[1] and kind ~= wanted[2] then
        bad(name .. ": " .. wanted[1] .. " or " .. wanted[2] .. " expected, got " .. kind, 3)
      end
    elseif wanted ~= "any" and kind ~= wanted then
      bad(name .. ": " .. wanted .. " expected, got " .. kind, 3)
    end
  end
  return options
end

-- Headers are found in any spelling.
local HEADERS = {
  __index = function(headers, name)
    if type(name) == "string" then return rawget(headers, lower(name)) end
  end,
  __metatable = false,
}
native.shielded[HEADERS] = true

local methods = {}
local RESPONSE = { __index = methods, __metatable = false, __name = "plua.response" }
native.shielded[RESPONSE] = true

-- What each answer that is read in pieces holds.
local held = setmetatable({}, { __mode = "k" })

-- Waits until `look` at the request needs no more waiting; what that gives.
local function complete(handle, event, timeout, look, ...)
  local deadline = now() + timeout
  local ok, first, second, third, fourth
  while event > 0 do
    if not wait_for_event(event, max(deadline - now(), 0), "plua.fetch", fetch_close, handle) then
      fetch_close(handle)
      return -1, "timeout", "timeout"
    end
    ok, event, first, second, third, fourth = look(handle, ...)
    if not ok then error(event, 4) end
  end
  return event, first, second, third, fourth
end

-- Asks the page's function for pieces as the connection wants them. What ends that is noted.
local function send_pieces(sending)
  local handle = sending.handle
  while true do
    local ok, event = fetch_wanted(handle)
    while ok and event > 0 do
      local seconds = sending.in_steps and sending.timeout or max(sending.deadline - now(), 0)
      if not wait_for_event(event, seconds, "plua.fetch") then
        sending.failure = { "timeout", "timeout" }
        return
      end
      ok, event = fetch_wanted(handle)
    end
    if not ok or event < 0 then return end
    local piece, message = sending.produce()
    if sending.is_over then return end
    if piece == nil and message ~= nil then
      -- What it reads from has broken off: without its rest the body would look whole.
      sending.failure = { "body: " .. (type(message) == "string" and message or "no more comes"), "body" }
      return
    elseif piece ~= nil and type(piece) ~= "string" then
      sending.complaint = "body: a string or nil expected of the function, got a " .. type(piece)
      return
    end
    local is_taken, complaint = fetch_give(handle, piece)
    if not is_taken then
      sending.complaint = complaint
      return
    end
    if piece == nil then return end
  end
end

-- The same in a light thread of its own, so that the answer, the time and whoever ends the request stop the page's function where
-- it waits.
local function run_sending(sending)
  sending.coroutine = running()
  local fine, problem = pcall(send_pieces, sending)
  -- Nobody is there any more who could be told.
  if not fine and sending.is_over then error(problem, 0) end
  sending.is_done, sending.has_raised, sending.problem = true, not fine, problem
  if sending.in_steps then sending.deadline = now() + sending.timeout end
  fetch_sent(sending.handle)
end

local function stop_sending(sending)
  sending.is_over = true
  local coroutine = sending.coroutine
  -- Where it does not wait, or cannot be left, it ends when the function comes back.
  if not coroutine or co_status(coroutine) == "suspended" then kill(sending.thread) end
end

local function abandon(sending)
  fetch_close(sending.handle)
  stop_sending(sending)
end

-- Sends what a function of the page's gives, and waits for the answer. What `complete` gives.
local function send(handle, event, produce, timeout, in_steps)
  local sending = { handle = handle, produce = produce, timeout = timeout, in_steps = in_steps, deadline = now() + timeout }
  sending.thread = spawn(run_sending, sending)
  local ok, status, headers, url, version
  while event > 0 do
    local seconds = in_steps and not sending.is_done and huge or max(sending.deadline - now(), 0)
    local is_in_time = wait_for_event(event, seconds, "plua.fetch", abandon, sending)
    if not is_in_time then sending.failure = sending.failure or { "timeout", "timeout" } end
    if sending.has_raised or sending.complaint or sending.failure then
      abandon(sending)
      if sending.has_raised then error(sending.problem, 0) end
      if sending.complaint then error("plua.fetch: " .. sending.complaint, 3) end
      return -1, sending.failure[1], sending.failure[2]
    end
    ok, event, status, headers, url, version = fetch_head(handle)
    if not ok then error(event, 3) end
  end
  stop_sending(sending)
  return event, status, headers, url, version
end

local function fetch(address, options)
  if type(address) ~= "string" then
    error("bad argument #1 to 'plua.fetch' (string expected, got " .. type(address) .. ")", 2)
  end
  options = check(options)
  local body, content_type = body_of(options)
  local headers = list_of_headers(options.headers or {}, content_type)
  if options.query then
    local query = fields("query", options.query)
    if query ~= "" then
      address = match(address, "^[^#]*")
      address = address .. (find(address, "?", 1, true) and "&" or "?") .. query
    end
  end
  local timeout = options.timeout or PATIENCE
  local fits = timeout > 0
  if not fits then bad("timeout: seconds above 0 expected", 2) end
  local tls
  for i = 1, #OF_TLS do
    local value = options[OF_TLS[i]]
    if value ~= nil then
      tls = tls or {}
      tls[OF_TLS[i]] = value
    end
  end
  local method = options.method and upper(options.method) or body and "POST" or "GET"
  local produce = type(body) == "function" and body
  if produce then body = true end
  local ok, event, handle, kind =
    fetch_start(address, method, headers, body, options.follow or 5, options.stream or false, tls, options.proxy)
  if not ok then error(event, 2) end
  if event < 0 then return nil, handle, kind end
  if timeout > LONGEST then timeout = LONGEST end
  local state, status, received, url, version
  if produce then
    state, status, received, url, version = send(handle, event, produce, timeout, options.stream)
  else
    state, status, received, url, version = complete(handle, event, timeout, fetch_head)
  end
  if state < 0 then return nil, status, received end
  local response = {
    status = status,
    ok = status >= 200 and status < 300,
    headers = setmetatable(received, HEADERS),
    url = url,
    version = version,
  }
  if options.stream then
    held[response] = { handle = handle, timeout = timeout }
    return setmetatable(response, RESPONSE)
  end
  local text, problem
  ok, state, text, problem = fetch_body(handle)
  if not ok then error(state, 2) end
  if state < 0 then return nil, text, problem end
  response.body = text
  function response.json()
    local fine, value, why = json_decode(text)
    if not fine then error(value, 2) end
    if value == nil then return nil, why end
    return value
  end
  return response
end

function methods.read(response, bytes)
  local state = held[response]
  if not state then error("call read with a colon, on what plua.fetch has given with stream = true", 2) end
  if bytes ~= nil and (type(bytes) ~= "number" or bytes % 1 ~= 0 or bytes < 1) then
    error("bad argument #1 to 'read' (a whole number from 1 on expected)", 2)
  end
  local ok, event, text, kind = fetch_read(state.handle, bytes)
  if not ok then error(event, 2) end
  if event > 0 then
    event, text, kind = complete(state.handle, event, state.timeout, fetch_read, bytes)
  end
  if event < 0 then return nil, text, kind end
  return text
end

function methods.close(response)
  local state = held[response]
  if not state then error("call close with a colon, on what plua.fetch has given with stream = true", 2) end
  fetch_close(state.handle)
end

return fetch
