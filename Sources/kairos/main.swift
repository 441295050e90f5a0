import ArgumentParser
import Commands

Kairos.main()
