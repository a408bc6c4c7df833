-- Takes the item at an end of a list: the item, nil without one, or its length where it is longer than is wanted; then it stays.
--
-- ARGV: 0 for the first item or -1 for the last one, and bytes at most.
local item = redis.call("LINDEX", KEYS[1], ARGV[1])
if not item then return false end
if #item > tonumber(ARGV[2]) then return #item end
return redis.call(ARGV[1] == "0" and "LPOP" or "RPOP", KEYS[1])
