#!/bin/bash
# lupa 2.5 (PyPI), which has Lua 5.1, 5.3, 5.4 and LuaJIT 2.1 in it.
# One would expect: a count hook that sets itself anew when it is called, with another count or after a pause, costs what
# debug.sethook costs in Lua 5.1, 5.3 and LuaJIT: next to nothing.
# What happens: in Lua 5.4 each call of debug.sethook (lua_sethook) walks through all active calls to mark them. Under a recursion of
# 15,000 calls, hooked every 20 instructions, the same work takes some seventy times as long; it grows with the square of the depth.
# Who is hurt: whoever bounds the time of Lua code by such a hook. What was to stop deep recursions makes them slow: in a
# server of ours a stack overflow took 21 seconds of processor time, and 0.35 once the hook was left as it was.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check lupa==2.5
cat >hooks.py <<'PYTHON'
import time
from lupa import lua51, lua53, lua54, luajit21

CODE = """
local again = ...
local function depth(n) if n == 0 then return 0 end return 1 + depth(n - 1) end
local function hook() if again then debug.sethook(hook, '', 20) end end
debug.sethook(hook, '', 20)
local reached = depth(15000)
debug.sethook()
return reached
"""
told = []
for lua in (lua51, lua53, lua54, luajit21):
    run = lua.LuaRuntime().eval("function(code, again) return (loadstring or load)(code)(again) end")
    def least(again):
        times = []
        for _ in range(5):
            began = time.process_time()
            assert run(CODE, again) == 15000
            times.append(time.process_time() - began)
        return min(times)
    left, anew = least(False), least(True)
    print(f"{lua.LuaRuntime().lua_implementation}: {left * 1e3:.2f} ms, with a hook that sets itself anew {anew * 1e3:.2f} ms")
    told.append(anew / left > 10)
assert told == [False, False, True, False], told
PYTHON
python/bin/python hooks.py
