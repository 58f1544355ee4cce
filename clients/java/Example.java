// SPDX-License-Identifier: 0BSD

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * The example server: HTTP/1.1 with keep-alive, all connections on one Selector, replaced without a lost request.
 *
 * <pre>
 * GET /          pid, slot and generation
 * GET /slow      the same, 300 ms later
 * GET /offline   the same; then this process asks to be replaced, finishes and exits
 * </pre>
 *
 * Run by srvwrap it serves on what it is given, else on 127.0.0.1, port $PORT or 8000. How it is made is in README.md.
 *
 * <p>A server that closes idle connections at once when it is told to finish cuts 42 to 112 requests in 15 deploys
 * under load; one that goes on answering for half a second, each answer with {@code Connection: close}, as this one,
 * cuts none.
 */
public final class Example {
    private static final long DRAIN_MS = 500;
    private static final long SLOW_MS = 300;
    private static final String BODY = "%d %s %s\n".formatted(
            ProcessHandle.current().pid(), variable("SRVWRAP_SLOT", "-"), variable("SRVWRAP_GENERATION", "-"));

    private final Selector selector = Selector.open();
    private final List<ServerSocketChannel> listeners = new ArrayList<>(Srvwrap.listeners());
    /** Set by another thread. */
    private volatile boolean isToEnd;
    /** 0: nobody has asked for it. */
    private long drainedAt;

    private Example() throws IOException {}

    public static void main(String[] arguments) throws IOException {
        new Example().run();
    }

    private void run() throws IOException {
        if (listeners.isEmpty()) listeners.add(ownListener());
        for (ServerSocketChannel listener : listeners) listener.register(selector, SelectionKey.OP_ACCEPT);
        Thread waiting = new Thread(Srvwrap.onShutdown(() -> {
            isToEnd = true;
            selector.wakeup();
        }));
        waiting.setDaemon(true);
        waiting.start();
        Srvwrap.online();
        while (isOpen()) turn();
    }

    /** That this looks before each wait, and wakeup() is good for the next one, leaves no moment in between. */
    private boolean isOpen() throws IOException {
        if (isToEnd) drain();
        return !selector.keys().isEmpty();
    }

    /** Waits until something has come or is due, and does what is to be done. */
    private void turn() throws IOException {
        selector.select(waitMs());
        long now = nowMs();
        for (SelectionKey key : List.copyOf(selector.keys())) {
            boolean isReady = selector.selectedKeys().remove(key) && key.isValid();
            if (!(key.attachment() instanceof Connection connection)) {
                if (isReady) accept((ServerSocketChannel) key.channel());
            } else if (isReady || connection.answeredAt != 0) {
                connection.goOn(isReady);
            } else if (drainedAt != 0 && now >= drainedAt) {
                connection.channel.close();
            }
        }
        forgetClosed();
    }

    /** Of a channel that was closed the key stays until the next select. */
    private void forgetClosed() throws IOException {
        selector.selectNow();
    }

    /** How long nothing is due; 0 is for ever. */
    private long waitMs() {
        long due = Long.MAX_VALUE;
        for (SelectionKey key : selector.keys()) {
            if (!(key.attachment() instanceof Connection connection)) continue;
            long at = connection.answeredAt != 0 ? connection.answeredAt : drainedAt;
            if (at != 0) due = Math.min(due, at);
        }
        return due == Long.MAX_VALUE ? 0 : Math.max(1, due - nowMs());
    }

    private void drain() throws IOException {
        if (drainedAt != 0) return;
        drainedAt = nowMs() + DRAIN_MS;
        // With an inherited channel Java closes what was stdout and stderr too: say before this what is to be said.
        for (ServerSocketChannel listener : listeners) listener.close();
        forgetClosed();
    }

    private void accept(ServerSocketChannel listener) throws IOException {
        SocketChannel channel = listener.accept();
        // Else another worker was faster, or the client has gone.
        if (channel != null) new Connection(channel);
    }

    private final class Connection {
        private final SocketChannel channel;
        private final SelectionKey key;
        private final ByteBuffer received = ByteBuffer.allocate(4096);
        /** When the request that is under way is to be answered, else 0. */
        private long answeredAt;

        Connection(SocketChannel channel) throws IOException {
            this.channel = channel;
            channel.configureBlocking(false);
            key = channel.register(selector, SelectionKey.OP_READ, this);
        }

        void goOn(boolean hasReceived) throws IOException {
            try {
                // It is negative at the end, and 0 where there is no room for so long a request.
                if (hasReceived && channel.read(received) <= 0) channel.close();
                else answer();
            } catch (IOException gone) {
                channel.close();
            }
        }

        /** Answers what is to be answered by now. */
        private void answer() throws IOException {
            for (String head; channel.isOpen() && (head = head()) != null;) {
                if (answeredAt == 0 && head.startsWith("GET /slow ")) answeredAt = nowMs() + SLOW_MS;
                boolean isLater = answeredAt > nowMs();
                key.interestOps(isLater ? 0 : SelectionKey.OP_READ);
                if (isLater) return;
                answer(head);
            }
        }

        /** The first whole head of what was received. */
        private String head() {
            String text = new String(received.array(), 0, received.position(), StandardCharsets.ISO_8859_1);
            int end = text.indexOf("\r\n\r\n");
            return end < 0 ? null : text.substring(0, end + 4);
        }

        private void answer(String head) throws IOException {
            boolean isLast = drainedAt != 0 || head.toLowerCase().contains("\r\nconnection: close");
            String answer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " + BODY.length() + "\r\n"
                    + (isLast ? "Connection: close\r\n" : "") + "\r\n" + BODY;
            ByteBuffer bytes = ByteBuffer.wrap(answer.getBytes(StandardCharsets.ISO_8859_1));
            channel.write(bytes);
            received.flip().position(head.length());
            received.compact();
            answeredAt = 0;
            // A client that reads none of its answers, so that this one does not fit, is let go too.
            if (isLast || bytes.hasRemaining()) channel.close();
            if (head.startsWith("GET /offline ")) {
                Srvwrap.offline("asked to");
                drain();
            }
        }
    }

    private static ServerSocketChannel ownListener() throws IOException {
        int port = Integer.parseInt(variable("PORT", "8000"));
        ServerSocketChannel listener = ServerSocketChannel.open();
        listener.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), port)).configureBlocking(false);
        return listener;
    }

    private static String variable(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }

    private static long nowMs() {
        return System.nanoTime() / 1_000_000;
    }
}
