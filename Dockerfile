# One image for API, worker, migrations and agent: `docker run … steelthread <api|worker|migrate up|agent>`.
ARG NODE_VERSION=20.20.2

FROM node:${NODE_VERSION}-bookworm-slim AS build
WORKDIR /app
# node-pty is compiled; the headers of this Node are in the image, so none are downloaded.
ENV npm_config_nodedir=/usr/local SCARF_ANALYTICS=false
RUN apt-get update \
  && apt-get install --yes --no-install-recommends g++ make python3 \
  && rm -rf /var/lib/apt/lists/*
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY . .
RUN npm run build && npm prune --omit=dev --no-audit --no-fund

FROM node:${NODE_VERSION}-bookworm-slim AS runtime
LABEL org.opencontainers.image.title="Steelthread" \
  org.opencontainers.image.description="Durable, human-approved command execution on fleets of machines" \
  org.opencontainers.image.licenses="Apache-2.0"
ENV NODE_ENV=production
WORKDIR /app
# Owned by root: the program cannot change itself.
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./
USER node
EXPOSE 8000
# For the API with its default port; a worker has no port, switch the check off there.
HEALTHCHECK --interval=15s --timeout=5s --retries=4 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8000/livez').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "bin/steelthread.js"]
CMD ["api"]
