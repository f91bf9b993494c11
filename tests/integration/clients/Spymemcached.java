// SPDX-License-Identifier: BSD-3-Clause
// What an application does, with spymemcached and default options: java Spymemcached.java PORT
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import net.spy.memcached.CASResponse;
import net.spy.memcached.CASValue;
import net.spy.memcached.MemcachedClient;

public class Spymemcached {
    static void check(boolean good, String what) {
        if (!good)
            throw new AssertionError(what);
    }

    public static void main(String[] args) throws Exception {
        MemcachedClient client = new MemcachedClient(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])));
        List<String> keys = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            keys.add("key:" + i);
            client.set("key:" + i, 100, "value " + i);
        }
        check(client.set("last", 100, "x").get(), "set");
        Map<String, Object> found = client.getBulk(keys);
        check(found.size() == 100 && found.get("key:7").equals("value 7"), "many");
        check(client.get("none") == null, "miss");
        CASValue<Object> value = client.gets("key:1");
        check(client.cas("key:1", value.getCas(), "mine") == CASResponse.OK, "cas");
        check(client.cas("key:1", value.getCas(), "yours") == CASResponse.EXISTS, "cas again");
        check(!client.add("key:1", 100, "x").get(), "add");
        check(client.incr("n", 2, 5) == 5 && client.incr("n", 2) == 7, "increment");
        check(client.delete("n").get(), "delete");
        check(client.getVersions().size() == 1, "version");
        client.shutdown(5, TimeUnit.SECONDS);
        System.out.println("done");
    }
}
