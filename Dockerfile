FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY migrations migrations
COPY pacslite pacslite
RUN pip install --no-cache-dir --prefix=/install .

FROM python:3.11-slim
COPY --from=build /install /usr/local
RUN useradd --system --uid 11112 --no-create-home --shell /usr/sbin/nologin pacslite \
    && install --directory --owner=pacslite --group=pacslite --mode=0700 /data
COPY config/docker.yaml /etc/pacslite/pacslite.yaml
USER pacslite
WORKDIR /data
VOLUME /data
# The shipped settings listen on 11112; 104 is for settings that listen there too.
EXPOSE 104 11112
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD ["pacslite", "echo", "--config", "/etc/pacslite/pacslite.yaml", "self"]
ENTRYPOINT ["pacslite"]
CMD ["serve", "--config", "/etc/pacslite/pacslite.yaml"]
