// A server of Netty, with the half second in which clients let go of their connections.
import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.SimpleChannelInboundHandler;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.SocketChannel;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpServerCodec;
import io.netty.handler.codec.http.HttpServerKeepAliveHandler;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import java.nio.channels.ServerSocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

public class Server {
    static final NioEventLoopGroup loops = new NioEventLoopGroup();
    static final AtomicInteger underWay = new AtomicInteger();
    static volatile boolean draining = false;

    public static void main(String[] arguments) throws Exception {
        ServerSocketChannel listener = Srvwrap.listeners().get(0);
        // It is bound: it is registered with a loop, instead of bind().
        Channel accepting = new ServerBootstrap()
            .group(loops)
            .channelFactory(() -> new NioServerSocketChannel(listener))
            .childHandler(new Application())
            .register().sync().channel();
        Thread waiting = new Thread(Srvwrap.onShutdown(() -> drain(accepting)));
        waiting.setDaemon(true);
        waiting.start();
        Srvwrap.online();
    }

    static void drain(Channel accepting) {
        draining = true;
        accepting.close();
        loops.schedule(Server::end, 500, TimeUnit.MILLISECONDS);
    }

    /** What is under way has its answer first, and no connection that is open has another request under way. */
    static void end() {
        if (underWay.get() > 0) {
            loops.schedule(Server::end, 50, TimeUnit.MILLISECONDS);
        } else {
            loops.shutdownGracefully(0, 10, TimeUnit.SECONDS);
        }
    }

    static class Application extends ChannelInitializer<SocketChannel> {
        protected void initChannel(SocketChannel channel) {
            channel.pipeline().addLast(new HttpServerCodec(), new HttpServerKeepAliveHandler(),
                new HttpObjectAggregator(65_536), new Answer());
        }
    }

    static class Answer extends SimpleChannelInboundHandler<FullHttpRequest> {
        static final byte[] BODY = (ProcessHandle.current().pid() + " " + System.getenv("SRVWRAP_SLOT") + " "
            + System.getenv("SRVWRAP_GENERATION") + "\n").getBytes(StandardCharsets.US_ASCII);

        protected void channelRead0(ChannelHandlerContext context, FullHttpRequest request) {
            underWay.incrementAndGet();
            long milliseconds = request.uri().equals("/slow") ? 300 : 0;
            context.executor().schedule(() -> answer(context), milliseconds, TimeUnit.MILLISECONDS);
        }

        void answer(ChannelHandlerContext context) {
            FullHttpResponse answer = new DefaultFullHttpResponse(
                HttpVersion.HTTP_1_1, HttpResponseStatus.OK, Unpooled.wrappedBuffer(BODY));
            HttpUtil.setContentLength(answer, BODY.length);
            if (draining) {
                // HttpServerKeepAliveHandler closes the connection behind it.
                HttpUtil.setKeepAlive(answer, false);
            }
            context.writeAndFlush(answer).addListener(written -> underWay.decrementAndGet());
        }
    }
}
