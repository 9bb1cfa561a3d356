# The server of docs/services.md.  The first stage compiles the CPU kernels, the second has no compiler.
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[serve]" && rm -r /wheels && useradd --create-home internimage
USER internimage
EXPOSE 8000
ENTRYPOINT ["internimage"]
CMD ["serve", "--help"]
