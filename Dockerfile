# A server for CPUs with AVX2, or for ARMv8:
#     docker build -t edgefc .
#     docker run --rm -p 127.0.0.1:8080:8080 -e EDGEFC_API_KEY=secret -v edgefc-models:/models edgefc

FROM python:3.12-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential
# The image is for other machines than the one that builds it.
ENV CMAKE_ARGS=-DGGML_NATIVE=OFF
WORKDIR /opt/edgefc
COPY . .
RUN python3 bootstrap.py --no-model edgefc --version

FROM python:3.12-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home edgefc \
    && install -d -o edgefc /models
COPY --from=build /opt/edgefc /opt/edgefc
USER edgefc
ENV PATH=/opt/edgefc/.venv/bin:$PATH EDGEFC_HOST=0.0.0.0 EDGEFC_MODELS_DIR=/models
VOLUME /models
EXPOSE 8080
HEALTHCHECK --start-period=60s CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health')"]
ENTRYPOINT ["edgefc"]
CMD ["serve"]
