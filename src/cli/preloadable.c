/* preloadable.c: a library that does nothing, for the test of what `berth run` preloads. */
int berth_preloadable(void);

int berth_preloadable(void)
{
        return 0;
}
