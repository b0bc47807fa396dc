# Debian's python3-etcd3, over Google's C++ gRPC, does all it can do, and says which parts it has come through.
#   python-client.py HOST PORT [part ...]      without parts: all but those of `users`, which need a server of their own
import io
import sys
import threading
import time

import etcd3

host, port, parts = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
WITHIN_S = 30


def connect(**options):
    return etcd3.client(host=host, port=port, timeout=WITHIN_S, **options)


def until(holds):
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def keys():
    assert client.get("none") == (None, None)
    client.put("a", "grün")
    client.put("b", bytes([0, 255, 1]))
    value, meta = client.get("a")
    assert value.decode() == "grün" and meta.key == b"a" and meta.version == 1
    assert client.get("b", serializable=True)[0] == bytes([0, 255, 1])
    assert client.put("a", "blau", prev_kv=True).prev_kv.value.decode() == "grün"
    for i in range(5):
        client.put(f"p/{i}", str(i))
    assert [value for value, _ in client.get_prefix("p/")] == [b"0", b"1", b"2", b"3", b"4"]
    assert [m.key for _, m in client.get_prefix("p/", sort_order="descend", sort_target="key", keys_only=True)][:2] == [b"p/4", b"p/3"]
    assert [m.key for _, m in client.get_range("p/1", "p/3")] == [b"p/1", b"p/2"]
    assert len(list(client.get_all())) == 7
    assert client.put_if_not_exists("p/0", "again") is False and client.put_if_not_exists("p/9", "new") is True
    assert client.replace("p/9", "new", "newer") is True and client.replace("p/9", "new", "x") is False
    assert client.delete("p/9") is True and client.delete("p/9") is False
    assert client.delete("p/4", prev_kv=True, return_response=True).prev_kvs[0].value == b"4"
    assert client.delete_prefix("p/").deleted == 4


def transactions():
    client.put("t", "1")
    tx = client.transactions
    succeeded, responses = client.transaction(
        compare=[tx.value("t") == "1", tx.version("t") > 0, tx.create("none") == 0, tx.mod("t") > 0],
        success=[tx.put("t", "2"), tx.get("t"), tx.delete("none")],
        failure=[tx.get("t")],
    )
    assert succeeded and responses[1][0][0] == b"2"
    succeeded, responses = client.transaction(compare=[tx.value("t") == "1"], success=[], failure=[tx.get("t")])
    assert not succeeded and responses[0][0][0] == b"2"
    succeeded, responses = client.transaction(
        compare=[tx.value("t") == "2"],
        success=[tx.txn(compare=[tx.version("t") == 2], success=[tx.put("nested", "yes")], failure=[])],
        failure=[],
    )
    assert succeeded and client.get("nested")[0] == b"yes"


def leases():
    lease = client.lease(2)
    client.put("leased", "1", lease=lease)
    assert lease.granted_ttl == 2 and 0 <= lease.remaining_ttl <= 2 and lease.keys == [b"leased"]
    for _ in range(6):  # three seconds: without renewals it would be gone
        time.sleep(0.5)
        assert lease.refresh()[0].TTL == 2
    assert client.get("leased")[0] == b"1"
    lease.revoke()
    assert client.get("leased")[0] is None
    client.put("leased", "2", lease=client.lease(2))
    until(lambda: client.get("leased")[0] is None)
    numbered = client.lease(60, lease_id=4711)
    assert numbered.id == 4711 and client.get_lease_info(4711).grantedTTL == 60
    numbered.revoke()


def watches():
    seen = []
    number = client.add_watch_prefix_callback("w/", lambda response: seen.extend(response.events))
    client.put("w/a", "1")
    client.put("w/b", "2")
    client.delete("w/a")
    client.put("other", "x")
    until(lambda: len(seen) == 3)
    assert [(type(event).__name__, event.key, event.value) for event in seen] == [
        ("PutEvent", b"w/a", b"1"),
        ("PutEvent", b"w/b", b"2"),
        ("DeleteEvent", b"w/a", b""),
    ]
    client.cancel_watch(number)
    first = seen[0].mod_revision
    events, cancel = client.watch_prefix("w/", start_revision=first, prev_kv=True)
    again = [next(events) for _ in range(3)]
    assert [event.mod_revision for event in again] == [first, first + 1, first + 2] and again[2].prev_value == b"1"
    cancel()
    later = threading.Timer(0.1, lambda: connect().put("once", "now"))
    later.start()
    assert client.watch_once("once", timeout=WITHIN_S).value == b"now"
    later.join()
    revision = client.put("w/a", "3").header.revision
    client.compact(revision)
    try:
        events, cancel = client.watch("w/a", start_revision=first)
        next(events)
        raise AssertionError("history was compacted")
    except etcd3.exceptions.RevisionCompactedError as error:
        assert error.compacted_revision == revision


def acquired(lock):
    """False where another has it: Debian's tenacity cannot be made to wait by this library, which falls over it then."""
    try:
        return lock.acquire(timeout=0)
    except TypeError:
        return False


def locks():
    lock = client.lock("door", ttl=10)
    assert acquired(lock) and lock.is_acquired()
    assert not acquired(connect().lock("door", ttl=10))
    assert lock.refresh()[0].TTL == 10
    inside, order = [], []

    def work(name):
        mine = connect()
        own = mine.lock("door", ttl=10)
        until(lambda: acquired(own))
        inside.append(name)
        assert inside == [name]
        order.append(name)
        inside.remove(name)
        assert own.release()
        mine.close()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(5)]
    for thread in threads:
        thread.start()
    assert lock.release() is True
    for thread in threads:
        thread.join(WITHIN_S)
    assert sorted(order) == [0, 1, 2, 3, 4] and lock.is_acquired() is False


def upkeep():
    status = client.status()
    members = list(client.members)
    assert status.version.startswith("3.5.") and status.leader.id == members[0].id and status.db_size > 0
    assert [urls for member in members for urls in member.client_urls] == [f"http://{host}:{port}"]
    assert client.hash() > 0
    client.defragment()
    copy = io.BytesIO()
    client.snapshot(copy)
    assert len(copy.getvalue()) > 16384
    client.create_alarm()
    assert [alarm.alarm_type for alarm in client.list_alarms()] == [1]
    try:
        client.put("full", "x")
        raise AssertionError("there is no space")
    except Exception as error:
        assert "database space exceeded" in str(error), error
    client.disarm_alarm()
    assert list(client.list_alarms()) == []
    client.put("full", "not any more")


def users():
    root, reader = connect(user="root", password="root"), connect(user="reader", password="secret")
    for user in (root, reader):
        user.call_credentials = None  # for TLS alone; on this port the token goes as metadata
    root.put("r/a", "1")
    assert reader.get("r/a")[0] == b"1"
    for refused in (lambda: reader.put("r/a", "2"), lambda: reader.get("other"), lambda: client.get("r/a")):
        try:
            refused()
            raise AssertionError("it is not allowed")
        except etcd3.exceptions.Etcd3Exception:
            raise
        except Exception as error:
            assert "permission denied" in str(error) or "user name is empty" in str(error), error
    try:
        connect(user="reader", password="wrong")
        raise AssertionError("the password is wrong")
    except Exception as error:
        assert "authentication failed" in str(error), error


client = connect()
for part in [globals()[name] for name in parts] or [keys, transactions, leases, watches, locks, upkeep]:
    part()
    print(part.__name__, flush=True)
