-- Lets what is under a key stay for ever: 1 where something is, or 0.
redis.call("PERSIST", KEYS[1])
return redis.call("EXISTS", KEYS[1])
