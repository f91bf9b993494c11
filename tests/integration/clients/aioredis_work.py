# SPDX-License-Identifier: BSD-3-Clause
"""What an application does, with aioredis and default options: aioredis_work.py PORT"""

import asyncio
import sys

import aioredis


async def work(port):
    client = await aioredis.create_redis_pool(("127.0.0.1", port), encoding="utf-8")
    assert await client.set("greeting", "hello") is True
    assert await client.get("greeting") == "hello"
    assert await client.get("nothing") is None
    keys = [f"key:{i}" for i in range(200)]
    await asyncio.gather(*(client.set(key, key) for key in keys))
    assert await asyncio.gather(*(client.get(key) for key in keys)) == keys
    assert await client.mget(*keys) == keys
    assert {key async for key in client.iscan(match="key:*")} == set(keys)
    pipe = client.pipeline()
    asked = [pipe.get(key) for key in keys]
    await pipe.execute()
    assert await asyncio.gather(*asked) == keys
    transaction = client.multi_exec()
    transaction.set("{t}a", 1)
    transaction.incr("{t}a")
    assert await transaction.execute() == [True, 2]
    assert await client.eval("return {KEYS[1], ARGV[1]}", ["k"], ["v"]) == ["k", "v"]
    await client.rpush("l", "x")
    assert await client.blpop("l", timeout=1) == ["l", "x"]
    await client.hmset_dict("h", a=1)
    assert await client.hgetall("h") == {"a": "1"}
    try:
        await client.incr("h")
        raise AssertionError("no error")
    except aioredis.ReplyError as error:
        assert str(error).startswith("WRONGTYPE")
    channel, = await client.subscribe("news")
    assert await client.publish("news", "today") == 1
    assert await channel.get(encoding="utf-8") == "today"
    await client.unsubscribe("news")
    assert "redis_version" in (await client.info())["server"]
    client.close()
    await client.wait_closed()


asyncio.run(work(int(sys.argv[1])))
print("done")
