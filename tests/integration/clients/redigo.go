// SPDX-License-Identifier: BSD-3-Clause

// What an application does, with redigo and default options: redigo PORT
package main

import (
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/gomodule/redigo/redis"
)

func check(want, got interface{}, err error) {
	if err != nil || !reflect.DeepEqual(want, got) {
		fmt.Fprintf(os.Stderr, "wanted %v, got %v, %v\n", want, got, err)
		os.Exit(1)
	}
}

func text(reply interface{}, err error) (string, error) {
	return redis.String(reply, err)
}

func main() {
	pool := &redis.Pool{MaxIdle: 3, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", "127.0.0.1:"+os.Args[1]) }}
	conn := pool.Get()
	got, err := text(conn.Do("SET", "greeting", "hello"))
	check("OK", got, err)
	got, err = text(conn.Do("GET", "greeting"))
	check("hello", got, err)
	_, err = text(conn.Do("GET", "nothing"))
	check(redis.ErrNil, err, nil)
	for i := 0; i < 200; i++ {
		conn.Send("SET", fmt.Sprint("key:", i), i)
	}
	for i := 0; i < 200; i++ {
		conn.Send("GET", fmt.Sprint("key:", i))
	}
	conn.Flush()
	for i := 0; i < 400; i++ {
		got, err = text(conn.Receive())
		if i >= 200 {
			check(fmt.Sprint(i-200), got, err)
		}
	}
	cursor, found := 0, map[string]bool{}
	for {
		reply, err := redis.Values(conn.Do("SCAN", cursor, "MATCH", "key:*"))
		check(2, len(reply), err)
		cursor, _ = redis.Int(reply[0], nil)
		some, _ := redis.Strings(reply[1], nil)
		for _, key := range some {
			found[key] = true
		}
		if cursor == 0 {
			break
		}
	}
	check(200, len(found), nil)
	conn.Send("MULTI")
	conn.Send("SET", "{t}a", 1)
	conn.Send("INCR", "{t}a")
	replies, err := redis.Values(conn.Do("EXEC"))
	check([]interface{}{"OK", int64(2)}, replies, err)
	script := redis.NewScript(1, "return redis.call('incrby', KEYS[1], ARGV[1])")
	number, err := redis.Int(script.Do(conn, "n", 5))
	check(5, number, err)
	conn.Do("RPUSH", "l", "x")
	popped, err := redis.Strings(conn.Do("BLPOP", "l", 1))
	check([]string{"l", "x"}, popped, err)
	conn.Do("HSET", "h", "a", 1)
	fields, err := redis.StringMap(conn.Do("HGETALL", "h"))
	check(map[string]string{"a": "1"}, fields, err)
	_, err = conn.Do("INCR", "h")
	check(true, err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE"), nil)
	listener := redis.PubSubConn{Conn: pool.Get()}
	listener.Subscribe("news")
	listener.PSubscribe("we*")
	for i := 0; i < 2; i++ {
		_, joined := listener.Receive().(redis.Subscription)
		check(true, joined, nil)
	}
	conn.Do("PUBLISH", "news", "today")
	check("today", string(listener.Receive().(redis.Message).Data), nil)
	conn.Do("PUBLISH", "weather", "rain")
	check("we*", listener.Receive().(redis.Message).Pattern, nil)
	check(nil, listener.Unsubscribe(), nil)
	check(nil, conn.Close(), nil)
	again := pool.Get()
	got, err = text(again.Do("PING"))
	check("PONG", got, err)
	fmt.Println("done")
}
