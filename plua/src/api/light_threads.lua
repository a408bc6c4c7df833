-- Light threads of a page, and how it waits: one that waits lets the others run, and when none can run the page itself waits,
-- in its thread of the server or without one.
--
-- Every page runs in a coroutine. Where it may yield it gives its thread up by yielding TOKEN to Rust; inside what is written in
-- C, as in a function that string.gsub calls, it waits where it is. A light thread yields TOKEN to whoever runs it, and so does
-- a coroutine of the page's own, which nesting.lua passes on. No page gets hold of TOKEN.
--
-- The chunk takes the functions written in Rust, the marks of buffer.lua, the output, what catches errors and what limits raise.
-- It returns what nesting.lua needs, the page functions, and what runs around a page.
local native, marks, output, call_with_handler, stops = ...

local error, next, select, setmetatable, type = error, next, select, setmetatable, type
local unpack, remove, sort = unpack or table.unpack, table.remove, table.sort
local huge = math.huge
local co_close, co_create, co_resume, co_status, co_yield =
  coroutine.close, coroutine.create, coroutine.resume, coroutine.status, coroutine.yield
local will_wait, wait_here, rung_events, seconds_since_start =
  native.will_wait, native.wait_here, native.rung_events, native.seconds_since_start

local TOKEN = {}

-- Lua 5.1 does not know where it may yield, and may not below a protected call: there a page waits in its thread, and a light
-- thread that waits runs the others inside itself.
local can_yield = coroutine.isyieldable or function() return false end

-- The coroutines that pages and light threads run in: what a page yielded there would reach the engine.
local bases = setmetatable({}, { __mode = "k" })

-- Whether a light thread may yield below a handler of its errors.
local protects = coroutine.isyieldable and true or false

-- As many light threads may one page have at one time.
local MOST = protects and 1000 or 40

-- Each thread has in `woken` whether it may go on, in `due` when it does in any case, in `drives` how often it is on the stack
-- as the one that runs others, in `ticket` how often it has waited, and in `serial` the page it belongs to. The page's own code
-- is one of them.
local serial, last_serial, alive, is_used = 0, 0, 0, false
local root, current
-- Those that may go on, in the order they were woken; those that have a time; those that wait for an event, by its number.
local ready, first, last = {}, 1, 0
local sleeping, waiting = {}, {}
-- Those that have failed before anybody waited for them.
local failed = {}
-- The event that the visitor's leaving is, and what is to run then.
local client_gone, on_abort
-- What is to run before the page waits next.
local run_before_wait
-- What belongs to the rest of the state's own code.
local check_ending, described, report, exchange_depth, end_page

local function begin()
  last_serial = last_serial + 1
  serial, alive, is_used = last_serial, 0, false
  root = { woken = true, drives = 1, ticket = 0, serial = serial }
  current, ready, first, last, sleeping, waiting, failed = root, {}, 1, 0, {}, {}, {}
  client_gone, on_abort, run_before_wait = nil, nil, nil
end
begin()

local function wake(thread, is_in_time)
  if thread.woken or thread.serial ~= serial then return end
  thread.woken, thread.is_in_time, sleeping[thread] = true, is_in_time, nil
  if thread.drives == 0 then
    last = last + 1
    ready[last] = thread
  end
end

-- The visitor has left: the page ends.
local function abort()
  local run = on_abort
  client_gone, on_abort = nil, nil
  if run then
    local fine, problem = call_with_handler(run, described)
    check_ending()
    if not fine then
      if type(problem) ~= "table" then error(problem, 0) end
      if report(problem[1], problem[2]) then error(problem[1], 0) end
    end
  end
  end_page("client gone")
end

local function is_earlier(one, other) return one.due < other.due end

-- Wakes those for whom something has come, or whose time is there.
local function look()
  local events = rung_events()
  if events then
    for i = 1, #events do
      local event = events[i]
      local thread = waiting[event]
      waiting[event] = nil
      if thread then wake(thread, true) end
      if event == client_gone then abort() end
    end
  end
  if next(sleeping) == nil then return end
  local now, due = seconds_since_start(), {}
  for thread in next, sleeping do
    if thread.due <= now then due[#due + 1] = thread end
  end
  if due[2] then sort(due, is_earlier) end
  for i = 1, #due do
    wake(due[i], false)
  end
end

-- When the next one goes on in any case.
local function first_due()
  local due = huge
  for thread in next, sleeping do
    if thread.due < due then due = thread.due end
  end
  return due < huge and due or nil
end

-- Queues of threads that wait for the same thing, in the order they came, and what each brings: an entry is nothing any more once
-- its wait is over, however it ended.
local function queue_up(queue, brought) queue[#queue + 1] = { current, current.ticket, brought } end

local function is_waiting(entry)
  local thread = entry[1]
  return thread.ticket == entry[2] and not thread.woken and thread.serial == serial
end

local function next_of(queue)
  while queue[1] do
    local entry = remove(queue, 1)
    if is_waiting(entry) then return entry end
  end
end

-- Forgets those that wait no longer.
local function tidy(queue)
  for i = #queue, 1, -1 do
    if not is_waiting(queue[i]) then remove(queue, i) end
  end
end

local function end_thread(thread, fine, ...)
  alive = alive - 1
  thread.has_ended, thread.coroutine = true, nil
  if fine then
    thread.count, thread.results = select("#", ...), { ... }
  else
    local problem = (...)
    -- Where no handler stands around it.
    thread.problem = protects and type(problem) == "table" and problem or described(problem)
    failed[#failed + 1] = thread
  end
  for entry in next_of, thread.waiters do
    wake(entry[1], true)
  end
  if alive == 0 and root.awaits_all then wake(root, true) end
end

local function switch(from, to)
  output.switch(from, to)
  from.depth, current = exchange_depth(to.depth or 0), to
end

local function ran(thread, before, fine, ...)
  switch(thread, before)
  check_ending()
  if not thread.coroutine or co_status(thread.coroutine) ~= "dead" then return end
  if not fine and stops[(...)] then error((...), 0) end
  -- Where a handler stands around it, what that gives is first.
  if fine and protects then return end_thread(thread, ...) end
  end_thread(thread, fine, ...)
end

-- Runs a thread until it waits or ends.
local function run(thread)
  local before, arguments = current, thread.arguments
  switch(before, thread)
  if arguments then
    thread.arguments = nil
    return ran(thread, before, co_resume(thread.coroutine, unpack(arguments, 1, arguments.count)))
  end
  return ran(thread, before, co_resume(thread.coroutine))
end

-- Whether there was one to run.
local function run_next()
  while first <= last do
    local thread = ready[first]
    ready[first] = nil
    first = first + 1
    if thread.coroutine then
      run(thread)
      return true
    end
  end
  first, last = 1, 0
  return false
end

-- Nobody can run, so the page waits. Whether there is anything to wait for.
local function idle()
  local due = first_due()
  if not due and next(waiting) == nil then return false end
  if can_yield() then
    will_wait(due)
    co_yield(TOKEN)
  else
    -- The time limit is over, or will be within a moment: let it strike here.
    local is_over = wait_here(due)
    while is_over do
    end
  end
  look()
  return true
end

-- Lets others run until the running thread is woken. Whether it is: nothing may be left that could wake it.
local function give_way()
  local thread = current
  if thread ~= root and can_yield() then
    co_yield(TOKEN)
    return thread.woken
  end
  thread.drives = thread.drives + 1
  while not thread.woken do
    if not run_next() then
      look()
      if not thread.woken and first > last and not idle() then break end
    end
  end
  thread.drives = thread.drives - 1
  return thread.woken
end

local NOTHING_COMES = ": nothing is left that could end this wait"

-- The running thread waits until it is woken, for so many seconds at most if they are given. Whether it was woken in time. Short
-- waits are none to what is to run before one.
local function wait(seconds, name, is_short)
  if run_before_wait and not is_short then run_before_wait() end
  local thread = current
  is_used, marks.needs_reset = true, 1
  thread.woken = false
  if seconds and seconds < huge then
    thread.due, sleeping[thread] = seconds_since_start() + seconds, true
  end
  local is_woken = give_way()
  thread.woken, thread.ticket = true, thread.ticket + 1
  if not is_woken then error(name .. NOTHING_COMES, 3) end
  return thread.is_in_time
end

-- Waits for an event of Rust's, for so many seconds at most. Whether it has come. When the thread is ended meanwhile, `abandon`
-- is called with `what`.
local function wait_for_event(event, seconds, name, abandon, what, is_short)
  local thread = current
  waiting[event], thread.abandon, thread.what = thread, abandon, what
  local has_come = wait(seconds, name, is_short)
  waiting[event], thread.abandon, thread.what = nil, nil, nil
  return has_come
end

local function check(position, name, what, value)
  local kind = type(value)
  if kind == what then return end
  error("bad argument #" .. position .. " to '" .. name .. "' (" .. what .. " expected, got " .. kind .. ")", 3)
end

local function check_request(name)
  if not native.folder() then error(name .. ": there is no request: it works only while a page runs", 3) end
end

local function check_seconds(position, name, seconds)
  if seconds == nil then return end
  if type(seconds) ~= "number" then
    error("bad argument #" .. position .. " to '" .. name .. "' (number expected, got " .. type(seconds) .. ")", 3)
  end
  if seconds < 0 or seconds ~= seconds then
    error("bad argument #" .. position .. " to '" .. name .. "' (seconds from 0 on expected)", 3)
  end
end

-- A day: a page that asks for more has made a mistake.
local LONGEST = 86400

local function sleep(seconds)
  local ok, problem = native.check_sleep(seconds)
  if not ok then error(problem, 2) end
  wait(problem < LONGEST and problem or LONGEST, "sleep")
end

-- What pages have of light threads, and the threads by that. Pages can change nothing in those.
local THREAD = { __metatable = false, __name = "plua.thread" }
local threads = setmetatable({}, { __mode = "k" })
native.shielded[THREAD] = true

local function thread_of(position, name, handle)
  local thread = threads[handle]
  if not thread then
    error("bad argument #" .. position .. " to '" .. name .. "' (a light thread expected, got " .. type(handle) .. ")", 3)
  end
  if thread.serial ~= serial then error(name .. ": the light thread is of another request", 3) end
  return thread
end

-- A light thread ends as it waits.
local function ended(...)
  if run_before_wait then run_before_wait() end
  return ...
end

local function run_to_end(run_thread, ...) return ended(run_thread(...)) end

local function start(name, run_thread, ...)
  if alive >= MOST then error(name .. ": a page has at most " .. MOST .. " light threads at one time", 3) end
  is_used, marks.needs_reset, marks.may_wait = true, 1, 1
  local body = run_thread
  if protects then
    function body(...) return call_with_handler(run_to_end, described, run_thread, ...) end
  end
  local coroutine = co_create(body)
  local thread = {
    coroutine = coroutine,
    arguments = { count = select("#", ...), ... },
    woken = true,
    drives = 0,
    ticket = 0,
    waiters = {},
    serial = serial,
  }
  bases[coroutine] = thread
  alive, last = alive + 1, last + 1
  ready[last] = thread
  return thread
end

local function spawn(run_thread, ...)
  check(1, "plua.spawn", "function", run_thread)
  check_request("plua.spawn")
  local handle = setmetatable({}, THREAD)
  threads[handle] = start("plua.spawn", run_thread, ...)
  return handle
end

-- Waits until a thread has ended. Whether it has within so many seconds.
local function join(thread, seconds, name)
  if thread == current then error(name .. ": a light thread cannot wait for itself", 3) end
  local until_then = seconds and seconds_since_start() + seconds
  while not thread.has_ended do
    queue_up(thread.waiters)
    if not wait(until_then and until_then - seconds_since_start(), name) then
      tidy(thread.waiters)
      return false
    end
  end
  thread.is_noticed = true
  return true
end

local function wait_for(handle, seconds)
  local thread = thread_of(1, "plua.wait", handle)
  check_seconds(2, "plua.wait", seconds)
  if not join(thread, seconds, "plua.wait") then return nil, "timeout" end
  if thread.problem then error(thread.problem[1], 0) end
  return unpack(thread.results, 1, thread.count)
end

-- Ends a thread where it waits. Whether it was still to end.
local function stop(thread, name)
  if thread.has_ended then return false end
  if thread.drives > 0 or thread == current then
    error(name .. ": the light thread runs, and cannot be ended where it is", 3)
  end
  local coroutine = thread.coroutine
  sleeping[thread], thread.woken = nil, true
  for event, other in next, waiting do
    if other == thread then waiting[event] = nil end
  end
  if thread.abandon then
    thread.abandon(thread.what)
    thread.abandon, thread.what = nil, nil
  end
  end_thread(thread, false, { "the light thread was ended (plua.kill)", {} })
  thread.is_noticed = true
  if co_close then co_close(coroutine) end
  return true
end

local function kill(handle) return stop(thread_of(1, "plua.kill", handle), "plua.kill") end

local function parallel(...)
  local count, started, results = select("#", ...), {}, {}
  check_request("plua.parallel")
  for i = 1, count do
    check(i, "plua.parallel", "function", (select(i, ...)))
  end
  for i = 1, count do
    started[i] = start("plua.parallel", (select(i, ...)))
  end
  for i = 1, count do
    local thread = started[i]
    join(thread, nil, "plua.parallel")
    if thread.problem then
      for j = i + 1, count do
        stop(started[j], "plua.parallel")
        started[j].is_noticed = true
      end
      error(thread.problem[1], 0)
    end
    results[i] = thread.results[1]
  end
  return unpack(results, 1, count)
end

-- Objects of pages, with what they hold by object: what makes one, and what finds what it holds. `origin` says in errors where they
-- come from.
local function class(name, methods, origin)
  local held = setmetatable({}, { __mode = "k" })
  local metatable = { __index = methods, __metatable = false, __name = name }
  native.shielded[metatable] = true
  return function(state)
    local object = setmetatable({}, metatable)
    held[object] = state
    return object
  end, function(object, method)
    local state = held[object]
    if not state then error("call " .. method .. " with a colon, on what " .. origin, 3) end
    return state
  end
end

local function whole_number(position, name, value, default, least, most)
  if value == nil and default ~= nil then return default end
  if type(value) ~= "number" or value % 1 ~= 0 or value < least or value > (most or huge) then
    error("bad argument #" .. position .. " to '" .. name .. "' (a whole number from " .. least .. " on expected)", 3)
  end
  return value
end

local semaphore_methods = {}
local new_semaphore, semaphore_of = class("plua.semaphore", semaphore_methods, "plua.semaphore has made")

function semaphore_methods.post(object, count)
  local state = semaphore_of(object, "post")
  for _ = 1, whole_number(1, "post", count, 1, 1) do
    local entry = next_of(state.queue)
    if not entry then
      state.count = state.count + 1
    else
      wake(entry[1], true)
    end
  end
end

function semaphore_methods.wait(object, seconds)
  local state = semaphore_of(object, "wait")
  check_seconds(1, "wait", seconds)
  if state.count > 0 then
    state.count = state.count - 1
    return true
  end
  queue_up(state.queue)
  if wait(seconds, "semaphore:wait") then return true end
  tidy(state.queue)
  return nil, "timeout"
end

function semaphore_methods.count(object) return semaphore_of(object, "count").count end

local function semaphore(count) return new_semaphore({ count = whole_number(1, "plua.semaphore", count, 0, 0), queue = {} }) end

local channel_methods = {}
local new_channel, channel_of = class("plua.channel", channel_methods, "plua.channel has made")

function channel_methods.send(object, value, seconds)
  local state = channel_of(object, "send")
  if value == nil then error("bad argument #1 to 'send' (a value expected, got nil)", 2) end
  check_seconds(2, "send", seconds)
  if state.is_closed then return nil, "closed" end
  local receiver = next_of(state.receivers)
  if receiver then
    receiver[1].received = value
    wake(receiver[1], true)
    return true
  end
  if #state.values < state.room then
    state.values[#state.values + 1] = value
    return true
  end
  local thread = current
  queue_up(state.senders, value)
  thread.refusal = nil
  if not wait(seconds, "channel:send") then
    tidy(state.senders)
    return nil, "timeout"
  end
  if thread.refusal then return nil, thread.refusal end
  return true
end

function channel_methods.receive(object, seconds)
  local state = channel_of(object, "receive")
  check_seconds(1, "receive", seconds)
  local value, sender = remove(state.values, 1), next_of(state.senders)
  if sender then
    wake(sender[1], true)
    if value == nil then return sender[3] end
    state.values[#state.values + 1] = sender[3]
  end
  if value ~= nil then return value end
  if state.is_closed then return nil, "closed" end
  local thread = current
  queue_up(state.receivers)
  thread.received = nil
  if not wait(seconds, "channel:receive") then
    tidy(state.receivers)
    return nil, "timeout"
  end
  value, thread.received = thread.received, nil
  if value == nil then return nil, "closed" end
  return value
end

function channel_methods.close(object)
  local state = channel_of(object, "close")
  state.is_closed = true
  -- What those could not send is not sent any more.
  for sender in next_of, state.senders do
    sender[1].refusal = "closed"
    wake(sender[1], true)
  end
  for receiver in next_of, state.receivers do
    wake(receiver[1], true)
  end
end

local function channel(room)
  room = whole_number(1, "plua.channel", room, 0, 0)
  return new_channel({ room = room, values = {}, senders = {}, receivers = {}, is_closed = false })
end

-- Waits, at the end of the page, for the threads that are still to end, and reports those that have failed meanwhile and that
-- nobody has waited for.
local function settle()
  root.awaits_all = true
  while alive > 0 do
    wait(nil, "the end of the page")
  end
  for i = 1, #failed do
    local thread = failed[i]
    if not thread.is_noticed and report(thread.problem[1], thread.problem[2]) then error(thread.problem[1], 0) end
  end
end

-- Has a function called, and then the page ended, when the visitor leaves while the page waits without a thread.
local function abort_with(run)
  if run ~= nil then check(1, "plua.onAbort", "function", run) end
  local fine, event = native.watch_client()
  if not fine then error(event, 2) end
  is_used, marks.needs_reset = true, 1
  client_gone, on_abort = event, run
end

return {
  token = TOKEN,
  bases = bases,
  class = class,
  whole_number = whole_number,
  wait_for_event = wait_for_event,
  -- Whether nothing else of the page could run while it waits.
  is_alone = function() return alive == 0 end,
  -- A coroutine of the page's own waits. Gives way until what it waits for has come.
  pass_on = give_way,
  -- A coroutine in which pages run from now on.
  note_base = function(coroutine) bases[coroutine] = "page" end,
  bind = function(...)
    check_ending, described, report, exchange_depth, end_page = ...
  end,
  sleep = sleep,
  -- Takes what is to run before the page waits the next time, or nil.
  before_wait = function(run)
    run_before_wait, is_used = run, true
  end,
  functions = {
    onAbort = abort_with,
    parallel = parallel,
    spawn = spawn,
    wait = wait_for,
    kill = kill,
    semaphore = semaphore,
    channel = channel,
  },
  -- Whether there is something to settle.
  is_unsettled = function() return alive > 0 or #failed > 0 end,
  settle = settle,
  -- Forgets the page before.
  reset = function()
    if is_used then begin() end
  end,
  -- What the page that waits has here, which is nothing to others until it is brought back.
  put_aside = function()
    local kept = {
      serial = serial,
      alive = alive,
      root = root,
      ready = ready,
      first = first,
      last = last,
      sleeping = sleeping,
      waiting = waiting,
      failed = failed,
      client_gone = client_gone,
      on_abort = on_abort,
      run_before_wait = run_before_wait,
    }
    begin()
    return kept
  end,
  bring_back = function(kept)
    serial, alive, is_used, root, current = kept.serial, kept.alive, true, kept.root, kept.root
    ready, first, last, sleeping, waiting = kept.ready, kept.first, kept.last, kept.sleeping, kept.waiting
    failed, client_gone, on_abort, run_before_wait = kept.failed, kept.client_gone, kept.on_abort, kept.run_before_wait
  end,
}
