# Postern in a container: one process without root, everything it keeps in /data, the rest may be read-only.
#
#   docker build -t postern .
#   docker run -d --read-only --cap-drop ALL --security-opt no-new-privileges -v relay:/data \
#     -e MAILNAME=mail.example.com -e ALLOWED_SENDER_DOMAINS=example.com postern

FROM node:24-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
COPY tools/node/package.json tools/node/
RUN npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/build.js scripts/
COPY src src
RUN npm run build
# What only building and testing need goes, the Node.js for older machines too: the image has its own.
RUN rm -rf node_modules && npm ci --omit=dev --omit=optional --no-audit --no-fund

FROM node:24-bookworm-slim
# The validating resolver that Postern starts for itself. unbound only recommends the root's keys, and setpriv of
# util-linux ends it when Postern dies.
RUN apt-get update \
  && apt-get install -y --no-install-recommends unbound dns-root-data util-linux \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY package.json LICENSE README.md ./
COPY bin bin
COPY config config
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/dist dist
RUN chmod 0755 bin/postern.js \
  && ln -s /app/bin/postern.js /usr/local/bin/postern \
  && install -d -o 10001 -g 10001 -m 0700 /data
ENV NODE_ENV=production \
    DATA_FOLDER=/data \
    LISTEN=25,587,465
USER 10001:10001
VOLUME /data
EXPOSE 25 587 465
# Asks the running process through its socket in /data: no SMTP session, so no line in any log.
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s CMD ["postern", "healthcheck"]
# What is under way gets eight seconds.
STOPSIGNAL SIGTERM
ENTRYPOINT ["postern"]
CMD ["serve"]
