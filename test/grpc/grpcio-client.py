# Calls the library with grpcio, Google's C++ implementation, and prints what came of each call.
#   grpcio-client.py HOST:PORT [AUTHORITY.pem]
import sys

import grpc

target = sys.argv[1]
if len(sys.argv) > 2:
    with open(sys.argv[2], "rb") as file:
        channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(file.read()))
else:
    channel = grpc.insecure_channel(target)

same = lambda message: message
unary = lambda path: channel.unary_unary(path, same, same)
echo = unary("/t.T/Echo")

assert echo(b"hello") == b"hello"
print("unary")
large = bytes(range(256)) * 3000
assert echo(large) == large
print("large")
try:
    unary("/t.T/Fail")(b"")
except grpc.RpcError as error:
    trailers = {key: value for key, value in error.trailing_metadata()}
    print("error", error.code().name, error.details(), "x-bytes-bin", trailers["x-bytes-bin"].hex())
count = [message[29999] for message in channel.unary_stream("/t.T/Count", same, same)(bytes([50]))]
assert count == list(range(50))
print("stream", len(count))
sent = [bytes([i]) * (i * 997) for i in range(20)]
assert list(channel.stream_stream("/t.T/Chat", same, same)(iter(sent))) == sent
print("chat", len(sent))
try:
    unary("/t.T/Never")(b"", timeout=0.2)
except grpc.RpcError as error:
    print("deadline", error.code().name)
assert echo(large, compression=grpc.Compression.Gzip) == large
print("gzip")
try:
    unary("/x.X/Echo")(b"")
except grpc.RpcError as error:
    print("unknown", error.code().name, error.details())
calls = [echo.future(str(i).encode(), timeout=20) for i in range(500)]
assert [call.result() for call in calls] == [str(i).encode() for i in range(500)]
print("calls", len(calls))
channel.close()
