// SPDX-License-Identifier: BSD-3-Clause

// What an application does, with gomemcache and default options: gomemcache PORT
package main

import (
	"fmt"
	"os"

	"github.com/bradfitz/gomemcache/memcache"
)

func check(good bool, what string, err error) {
	if !good {
		fmt.Fprintln(os.Stderr, "wrong:", what, err)
		os.Exit(1)
	}
}

func main() {
	client := memcache.New("127.0.0.1:" + os.Args[1])
	keys := []string{"none"}
	for i := 0; i < 100; i++ {
		key := fmt.Sprint("key:", i)
		keys = append(keys, key)
		err := client.Set(&memcache.Item{Key: key, Value: []byte(key), Expiration: 100})
		check(err == nil, "set", err)
	}
	found, err := client.GetMulti(keys)
	check(err == nil && len(found) == 100 && string(found["key:7"].Value) == "key:7", "many", err)
	_, err = client.Get("none")
	check(err == memcache.ErrCacheMiss, "miss", err)
	item, err := client.Get("key:1")
	check(err == nil, "get", err)
	item.Value = []byte("mine")
	check(client.CompareAndSwap(item) == nil, "cas", nil)
	check(client.CompareAndSwap(item) == memcache.ErrCASConflict, "cas again", nil)
	check(client.Add(item) == memcache.ErrNotStored, "add", nil)
	client.Set(&memcache.Item{Key: "n", Value: []byte("5")})
	number, err := client.Increment("n", 2)
	check(err == nil && number == 7, "increment", err)
	check(client.Touch("n", 100) == nil, "touch", nil)
	check(client.Delete("n") == nil, "delete", nil)
	check(client.Delete("n") == memcache.ErrCacheMiss, "delete again", nil)
	fmt.Println("done")
}
